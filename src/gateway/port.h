/* port.h - all that the gateway asks the kernel for. What is above it knows descriptors as numbers
 * only: under a test they stand for scripted peers, and nothing is opened. */
#ifndef GANTRY_GATEWAY_PORT_H
#define GANTRY_GATEWAY_PORT_H

#include <netinet/in.h>

#include "sock.h"

struct gt_port {
	const struct gt_sock_ops *sock; /* of what is accepted, dialed and connected */
	/* A client's connection and its address as text, "" when it has none. fd or -errno. */
	int (*accept)(int listen_fd, char peer[INET6_ADDRSTRLEN]);
	/* To a unix socket of this host; type as in socket(2). fd or -errno. */
	int (*connect)(const char *path, int type);
	int (*pipe)(size_t size, struct gt_pipe_ends *ret); /* 0 or -errno */
	/* A connection to another host: one that is gone is noticed within about 3 s. */
	void (*guard)(int fd);
	/* Of such a one: may what was sent wait for a program that does not read it? */
	void (*patience)(int fd, bool patient);
};
extern const struct gt_port gt_port_system;

#endif
