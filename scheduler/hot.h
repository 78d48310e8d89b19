/*
 * HOT: functions that pass over columns, compiled for several vector widths and chosen at start.
 *
 * Not with sanitizers, whose run-time is not ready when the choice is made, nor where the compiler
 * or machine has no such thing.
 */
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define HOT __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), noinline))
#else
#define HOT
#endif

/* a / b, correctly rounded, from inverse = 1 / b, correctly rounded: two fused operations, where
 * there are such, correct the product (Markstein). */
static inline double __attribute__((always_inline)) quotient(double a, double b, double inverse)
{
#ifdef __FMA__
    double q = a * inverse;
    return __builtin_fma(__builtin_fma(-q, b, a), inverse, q);
#else
    return a / b;
#endif
}
