/* reg_world.h - a registry on loopback that serves what a test puts into it and lies where the
 * test's hook says so, with a client on it. A second server stands for another host. */
#ifndef TESTS_IMAGE_REG_WORLD_H
#define TESTS_IMAGE_REG_WORLD_H

#include <stdatomic.h>

#include <gantry/base/buf.h>
#include <gantry/image/registry.h>

#include "../http/fake_server.h"

#define OCI  "application/vnd.oci.image."
#define DOCK "application/vnd.docker."

#define ITEMS_MAX  160
#define LAYER_SIZE 3000

struct reg_item {
	char tag[32], digest[GT_REF_DIGEST_SIZE], type[100];
	char *data;
	size_t len;
};

struct reg;
/* Before the honest answer: PASS gives it. */
enum reg_hooked { PASS, KEEP, CLOSE };
typedef enum reg_hooked reg_hook(struct reg *w, struct fake_request *req);

struct reg {
	struct fake_server *server, *other; /* the handler's arg is the world */
	struct gt_registry_config config;
	struct gt_registry *r;
	struct gt_ref ref;
	struct reg_item items[ITEMS_MAX];
	size_t n;
	reg_hook *hook;
	atomic_uint count; /* for hooks */
	atomic_bool cancel;
	unsigned number; /* for hooks */
	char text[512];  /* for hooks */
	char manifest[GT_REF_DIGEST_SIZE], layer[2][GT_REF_DIGEST_SIZE], conf[GT_REF_DIGEST_SIZE];
	char layer_data[LAYER_SIZE];
	struct gt_buf got; /* what gt_registry_blob delivered */
	struct gt_err err;
};

int reg_setup(void **state); /* with an image of two layers tagged "1" */
int reg_teardown(void **state);
void reg_open(struct reg *w); /* a new client with w->config */
/* Adds something to serve by digest and, when not "", by tag. */
const struct reg_item *reg_add(struct reg *w, const char *tag, const char *type, const char *data,
			       size_t len);
const struct reg_item *reg_addf(struct reg *w, const char *tag, const char *type, const char *fmt,
				...) __attribute__((format(printf, 4, 5)));
bool reg_is(const struct fake_request *req, const char *part); /* of the target */
/* The item's honest answer, ranges included. */
bool reg_serve(struct fake_request *req, const struct reg_item *item);
const struct reg_item *reg_find(const struct reg *w, const char *tag_or_digest);
struct gt_blob reg_layer_blob(const struct reg *w);

/* Clears err; fills w->got. */
int reg_manifest(struct reg *w, const char *ref_rest, struct gt_manifest **ret);
int reg_manifest_fails(struct reg *w, const char *ref_rest); /* -errno */
int reg_blob(struct reg *w, const struct gt_blob *blob);
/* With the handlers' threads; a pull does it by itself, before and after. */
void reg_sync(struct reg *w);
/* Fails the test unless the last error has this slug and text. */
void reg_expect(struct reg *w, int r, int wanted, const char *slug, const char *text);

#endif
