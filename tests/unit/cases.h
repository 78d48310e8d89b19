/*
 * Tables of cases in tests/cases/NAME.test, run through one function.
 *
 *     static void run(struct str input, struct strbuf *out) { ...append what came out... }
 *     cases_run("quantity", run);
 *
 * Two forms, which a file may mix. A line `input => output` with the escapes \n \t \\ \xHH on both
 * sides (and # for comments); or a block that keeps its line ends:
 *
 *     === what it shows
 *     input lines
 *     >>>
 *     output lines
 *
 * which ends at the next "===" or at the end of the file. A mismatch is a failed assertion that
 * prints the file's line, the input, and both outputs.
 */
#pragma once

#include "common/str.h"

typedef void case_fn(struct str input, struct strbuf *out);

void cases_run(const char *name, case_fn *run);
