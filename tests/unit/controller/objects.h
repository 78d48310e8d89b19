/* Projected objects from JSON text, for the tests of this folder. */
#pragma once

#include "controller/kinds.h"

const void *object_of(enum kind kind, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
