/*
 * All controllers, in the order they start. Their list is controllers.def.
 */
#include "controller/controller.h"

#define CONTROLLER(name) extern const struct controller_info controller_##name;
#include "controller/controllers.def"
#undef CONTROLLER

const struct controller_info *const controllers[] = {
#define CONTROLLER(name) &controller_##name,
#include "controller/controllers.def"
#undef CONTROLLER
};
const size_t controller_count = ARRAY_COUNT(controllers);
