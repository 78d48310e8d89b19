/*
 * Memory for the small pieces of JSON trees, kept by the thread that freed them.
 *
 * A tree of cJSON is some hundred blocks below 128 bytes, made and freed together. glibc puts them
 * into its fast bins, merges those whenever somebody asks for a large block (OpenSSL does for every
 * record), and splits them again for the next tree: a third of the CPU of a write. Here a freed
 * block stays in a list of its size, 16 to 128 bytes, of the thread, up to JSON_POOL_BLOCKS a size.
 * All blocks are malloc's own, so what comes from one may go to the other.
 *
 * Threads: any; a thread's lists are freed at its end.
 */
#pragma once

#define JSON_POOL_BLOCKS 2048

/* For the rest of the process; before its first tree, once. */
void json_pool_start(void);
