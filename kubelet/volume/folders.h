/*
 * Folders of volumes that the built-in provisioner made on this node: removed when their volume is.
 */
#pragma once

struct agent;
struct folders;

struct folders *folders_start(struct agent *agent);
void folders_free(struct folders *folders); /* NULL is fine */
