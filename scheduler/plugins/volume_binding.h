/* What plugin VolumeBinding decides for the chosen node. */
#pragma once

#include "scheduler/plugin.h"
#include "scheduler/storage.h"

/* The volumes for the unbound claims of the cycle's pod on the row, in the cycle's arena; 0: all
 * are bound. After the filters, for a row they left. */
size_t volume_choices(const struct cycle *cycle, uint32_t row, struct volume_choice **ret);
