/* end.h - one end of what is pumped: a socket of this host, or one to the door with TLS over it.
 * Non-blocking; watched for edges, so that whoever is told of one tries until it is -EAGAIN. */
#ifndef GANTRY_UPLINK_END_H
#define GANTRY_UPLINK_END_H

#include <sys/types.h>

#include <gantry/base/cleanup.h>

struct ssl_st;

struct end {
	int fd;             /* owned; -EBADF = none */
	struct ssl_st *ssl; /* owned; NULL = bytes as they are */
};
#define END_NONE             \
	{                    \
		.fd = -EBADF \
	}

/* > 0; 0 = the peer said that it sends no more; -EAGAIN; another -errno: it is broken. */
ssize_t end_read(struct end *e, void *buf, size_t len);
ssize_t end_write(struct end *e, const void *buf, size_t len);
/* We send no more. 0, -EAGAIN, or another -errno. */
int end_shut(struct end *e);
/* As it is, or (reset) so that the peer does not take it for an orderly end. Fine when closed. */
void end_close(struct end *e, bool reset);
struct end end_steal(struct end *e);

#endif
