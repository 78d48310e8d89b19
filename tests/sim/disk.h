/*
 * The simulated disk: files in memory behind a SQLite VFS named "sim".
 *
 * What was written but not synced is lost when the disk crashes, except for writes that the seed
 * lets through: real disks keep some, in any order. sync() is a point where other tasks may go on.
 */
#pragma once

#include "tests/sim/sim.h"

struct disk;

struct disk *disk_new(struct sim *sim); /* registers the VFS; one a run */
/* Power loss: every file falls back to what was synced (and a random part of the rest); all handles
 * are void. */
void disk_crash(struct disk *disk);
