/*
 * C library functions that this project does not use; included before every file by the build.
 *
 * Unbounded copies: use struct strbuf or snprintf. Hidden state: use the _r form or common/time.h.
 * Silent errors (atoi): use str_parse_int64().
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SKIFF_BANNED(name) name##_is_banned_see_common_banned_h

#undef strcpy
#undef strcat
#undef strncpy
#undef strncat
#undef strtok
#undef sprintf
#undef vsprintf
#undef gets
#undef atoi
#undef atol
#undef atoll
#undef gmtime
#undef localtime
#undef ctime
#undef asctime
#define strcpy SKIFF_BANNED(strcpy)
#define strcat SKIFF_BANNED(strcat)
#define strncpy SKIFF_BANNED(strncpy)
#define strncat SKIFF_BANNED(strncat)
#define strtok SKIFF_BANNED(strtok)
#define sprintf SKIFF_BANNED(sprintf)
#define vsprintf SKIFF_BANNED(vsprintf)
#define gets SKIFF_BANNED(gets)
#define atoi SKIFF_BANNED(atoi)
#define atol SKIFF_BANNED(atol)
#define atoll SKIFF_BANNED(atoll)
#define gmtime SKIFF_BANNED(gmtime)
#define localtime SKIFF_BANNED(localtime)
#define ctime SKIFF_BANNED(ctime)
#define asctime SKIFF_BANNED(asctime)
