/*
 * The pipeline from outside: what the request's life, its stages and the connections need of it.
 */
#pragma once

#include "apiserver/request/request.h"

/* The request is over (answered or dropped): its metrics are counted. */
void pipeline_finished(struct request *q);
/* From a stage behind "apply" that then returns STAGE_DONE: the request goes on at "apply". */
void pipeline_again(struct request *q);
