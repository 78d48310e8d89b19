/*
 * Quantities ("100m", "1.5Gi", "2e3"): exact decimals, parsed, printed canonically and compared.
 *
 * A quantity is value * 10^-9 held in 128 bits (finer digits round up, away from zero; the range is
 * +-2^63-1 units, larger values saturate), with the format family it was written in. Printing
 * follows upstream: no fraction, the largest suffix that leaves an integer; binary suffixes only
 * for |q| >= 1024.
 */
#pragma once

#include "common/str.h"

enum quantity_format { QUANTITY_DECIMAL_SI, QUANTITY_BINARY_SI, QUANTITY_DECIMAL_EXPONENT };

struct quantity {
    __int128 nano;
    enum quantity_format format;
};

/* ERR_BAD_REQUEST with upstream's text: quantities must match the regular expression '...'. */
int quantity_parse(struct str text, struct quantity *ret, struct error *err);
void quantity_print(struct quantity q, struct strbuf *out);
int quantity_cmp(struct quantity a, struct quantity b);
struct quantity quantity_add(
    struct quantity a, struct quantity b); /* keeps a's format, b's if a is 0 */
struct quantity quantity_sub(struct quantity a, struct quantity b);
int64_t quantity_value(struct quantity q);       /* whole units, rounded up, saturating */
int64_t quantity_milli_value(struct quantity q); /* thousandths, rounded up, saturating */
struct quantity quantity_of_value(int64_t units, enum quantity_format format);
struct quantity quantity_of_milli(int64_t thousandths);
