/* Base64: the standard and the URL alphabet, and hexadecimal. */
#pragma once

#include "common/str.h"

void base64_encode(struct str bytes, struct strbuf *out);
void base64url_encode(struct str bytes, struct strbuf *out); /* no padding */
/* Strict: padding required, no white space but CR and LF (as Go); the url form takes no padding.
 * ERR_BAD_REQUEST "illegal base64 data at input byte N". */
int base64_decode(struct str text, struct strbuf *out, struct error *err);
int base64url_decode(struct str text, struct strbuf *out, struct error *err);
void hex_encode(struct str bytes, struct strbuf *out);
