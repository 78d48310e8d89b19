/*
 * The .api files as bytes of the binary, pulled in by the assembler; the list is api_files.def.
 */
#include "apiserver/schema/model.h"

#define API_FILE(name)                                                         \
    __asm__(".pushsection .rodata\n"                                           \
            "api_file_" #name ":\n"                                            \
            ".incbin \"" SCHEMA_DIR "/" #name ".api\"\n"                       \
            "api_file_" #name "_end:\n"                                        \
            ".byte 0\n"                                                        \
            ".popsection\n");                                                  \
    extern const char api_file_##name[] __attribute__((visibility("hidden"))); \
    extern const char api_file_##name##_end[] __attribute__((visibility("hidden")));
#include "apiserver/schema/api_files.def"
#undef API_FILE

const struct api_file api_files[] = {
#define API_FILE(name) {#name ".api", api_file_##name, api_file_##name##_end},
#include "apiserver/schema/api_files.def"
#undef API_FILE
};
const size_t api_file_count = ARRAY_COUNT(api_files);
