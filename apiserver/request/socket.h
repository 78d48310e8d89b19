/*
 * May a streamed answer be given as WebSocket messages, because its request asks for that?
 *
 * Watches (an event a message) and logs (subprotocols binary.k8s.io and base64.binary.k8s.io).
 * Other answers go out as usual, which a WebSocket client reports as a failed handshake.
 */
#pragma once

#include "apiserver/request/request.h"

/* After the answer was made: fills the socket_* fields, or leaves them alone. */
void socket_choose(struct request *q);
