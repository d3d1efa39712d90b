/* door.h - the cluster as a node sees it, played by the test: an authority, a door that speaks TLS
 * with whoever comes, one guest after the other. Everything that waits gives up after 5 s. */
#ifndef TEST_DOOR_H
#define TEST_DOOR_H

#include <gantry/http/pki.h>

struct guest {
	int fd;
	void *ssl;
	char node[GT_PKI_NAME_SIZE]; /* of its certificate; "" = it showed none */
	char head[4096];             /* the request's, with the body where there is one */
	const char *body;
};

struct door {
	struct gt_pki_ca *ca;
	char token[GT_PKI_TOKEN_SIZE];
	void *ctx;
	uint64_t back_ms; /* its clock was set back by that */
	bool gateways;    /* and no nodes are its guests */
	int fd;
	char url[64];
};

void door_open(struct door *d);
/* Another one of the same cluster. */
void door_open_other(struct door *d, const struct door *first);
/* Its certificate is one that was made so long ago, for a day. */
void door_certify(struct door *d, uint64_t ago_ms);
void door_close(struct door *d);
/* The next who comes; false = nobody within wait_ms, or it did not like us. */
bool door_guest(struct door *d, int wait_ms, struct guest *ret);
/* A certificate for the request in a body {"csr": ...}, for life_ms, as JSON {"certificate", "ca"}.
 */
void door_sign(struct door *d, const char *body, const char *node, uint64_t life_ms,
	       struct gt_buf *ret);

void guest_send(struct guest *g, const void *data, size_t len);
void guest_say(struct guest *g, const char *text);
void guest_answer(struct guest *g, const char *status, const char *json);
/* Exactly so many bytes, or fewer at the end. */
size_t guest_read(struct guest *g, void *buf, size_t len);
void guest_shut(struct guest *g); /* says that no more comes */
void guest_leave(struct guest *g);

#endif
