/*
 * The list of kinds with rules of their own.
 */
#include "apiserver/registry/registry.h"

#define STRATEGY(name) extern const struct strategy strategy_##name;
#include "apiserver/registry/strategies.def"
#undef STRATEGY

const struct strategy *const strategies[] = {
#define STRATEGY(name) &strategy_##name,
#include "apiserver/registry/strategies.def"
#undef STRATEGY
};
const size_t strategy_count = ARRAY_COUNT(strategies);
