#include "identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/wire/json.h>
#include <gantry/wire/value.h>

#include "tls.h"

static void path_of(const char *dir, const char *name, char out[320])
{
	snprintf(out, 320, "%s/%s", dir, name);
}

/* The file has the old content or all of the new one, also after a power cut. */
static int write_file(const char *dir, const char *name, const char *text, size_t len,
		      struct gt_err *err)
{
	char path[320], tmp[324];
	gt_auto(fd) int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	path_of(dir, name, path);
	snprintf(tmp, sizeof(tmp), "%s.new", path);
	unlink(tmp);
	gt_auto(fd) int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (at < 0 || fd < 0 || write(fd, text, len) != (ssize_t)len || fsync(fd) < 0 ||
	    rename(tmp, path) < 0 || fsync(at) < 0)
		return gt_err_errno(err, errno ? errno : EIO, "write %s", path);
	return 0;
}

static int read_file(const char *dir, const char *name, size_t max, struct gt_buf *ret,
		     struct gt_err *err)
{
	char path[320], *room;
	struct stat st;

	path_of(dir, name, path);
	gt_auto(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return gt_err_errno(err, errno, "%s", path);
	gt_buf_init(ret, max + 1);
	room = S_ISREG(st.st_mode) && (size_t)st.st_size <= max
		       ? gt_buf_reserve(ret, (size_t)st.st_size + 1)
		       : NULL;
	if (!room)
		return gt_err_set(err, EINVAL, "bad_config", "%s is not what was written there",
				  path);
	ssize_t n = read(fd, room, (size_t)st.st_size);
	if (n < 0)
		return gt_err_errno(err, errno, "read %s", path);
	room[n] = '\0';
	ret->len += (size_t)n;
	return 0;
}

/* ---- join.json ---- */

static void read_doors(const struct gt_value *v, struct gt_uplink_joined *j)
{
	const struct gt_value *doors = gt_value_at(v, "doors");

	j->n_doors = 0;
	for (size_t i = 0; i < gt_value_len(doors) && j->n_doors < GT_UPLINK_DOORS_MAX; i++) {
		char *door = j->doors[j->n_doors];

		if (gt_strcopy(door, sizeof(j->doors[0]),
			       gt_value_str(gt_value_item(doors, i), "", "")) &&
		    gt_uplink_check_url(door, &(struct gt_err){ 0 }) == 0)
			j->n_doors++;
	}
}

int gt_uplink_joined(const char *dir, struct gt_uplink_joined *ret, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	gt_auto(value) struct gt_value *v = NULL;
	struct gt_uplink_joined j;

	if (read_file(dir, IDENTITY_JOIN, 4096, &text, err) < 0)
		return -err->code;
	if (gt_value_parse(gt_buf_str(&text), text.len, &v, err) < 0)
		return gt_err_wrap(err, "%s/" IDENTITY_JOIN, dir);
	if (!gt_strcopy(j.url, sizeof(j.url), gt_value_str(v, "url", "")) ||
	    !gt_strcopy(j.node, sizeof(j.node), gt_value_str(v, "node", "")) ||
	    !gt_strcopy(j.token_sha256, sizeof(j.token_sha256),
			gt_value_str(v, "token_sha256", "")) ||
	    !gt_strcopy(j.ca_pin, sizeof(j.ca_pin), gt_value_str(v, "ca_pin", "")) || !j.node[0] ||
	    gt_uplink_check_url(j.url, err) < 0)
		return gt_err_set(err, EINVAL, "bad_config",
				  "%s/" IDENTITY_JOIN " is damaged; join again with a new token",
				  dir);
	read_doors(v, &j);
	*ret = j;
	return 0;
}

static int write_joined(const char *dir, const struct gt_uplink_joined *joined, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &text);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "url", joined->url);
	gt_json_str(&j, "node", joined->node);
	gt_json_str(&j, "token_sha256", joined->token_sha256);
	gt_json_str(&j, "ca_pin", joined->ca_pin);
	gt_json_array(&j, "doors");
	for (size_t i = 0; i < joined->n_doors; i++)
		gt_json_str(&j, NULL, joined->doors[i]);
	gt_json_close(&j, ']');
	gt_json_close(&j, '}');
	gt_buf_addc(&text, '\n');
	return write_file(dir, IDENTITY_JOIN, text.data, text.len, err);
}

/* ---- the certificate ---- */

/* Is it what this node should have got? */
static int check_cert(const char *cert, const char *node, struct gt_pki_id *ret, struct gt_err *err)
{
	if (gt_pki_identity_pem(cert, strlen(cert), ret, err) < 0)
		return -err->code;
	if (ret->kind != GT_PKI_NODE || !gt_streq(ret->name, node))
		return gt_err_set(err, EACCES, "bad_certificate",
				  "the certificate is that of %s %s and not of node %s",
				  gt_pki_kind_names[ret->kind], ret->name, node);
	return 0;
}

static int check_ca(const char *ca, const char *pin, struct gt_err *err)
{
	gt_auto(pki_cert) struct x509_st *cert = NULL;
	char is[GT_PKI_PIN_SIZE];

	if (gt_pki_cert_read(ca, strlen(ca), &cert, err) < 0 || gt_pki_pin(cert, is, err) < 0)
		return gt_err_wrap(err, IDENTITY_CA);
	if (!gt_streq(is, pin))
		return gt_err_set(err, EACCES, "bad_certificate",
				  "the authority is not the one that the node has joined");
	return 0;
}

int identity_load(const char *dir, struct identity **ret, struct gt_err *err)
{
	struct identity *i = gt_alloc(sizeof(*i));
	gt_auto(buf) struct gt_buf cert = { 0 };
	int r = gt_uplink_joined(dir, &i->joined, err);

	gt_strcopy(i->dir, sizeof(i->dir), dir);
	if (r == 0)
		r = read_file(dir, IDENTITY_KEY, GT_PKI_PEM_MAX, &i->key, err);
	if (r == 0)
		r = read_file(dir, IDENTITY_CA, GT_PKI_PEM_MAX, &i->ca, err);
	if (r == 0)
		r = check_ca(gt_buf_str(&i->ca), i->joined.ca_pin, err);
	if (r == 0)
		r = read_file(dir, IDENTITY_CERT, GT_PKI_PEM_MAX, &cert, err);
	if (r == 0)
		r = check_cert(gt_buf_str(&cert), i->joined.node, &i->id, err);
	if (r == 0)
		r = tls_member(gt_buf_str(&cert), gt_buf_str(&i->key), gt_buf_str(&i->ca), &i->ctx,
			       err);
	if (r < 0) {
		identity_free(i);
		return r;
	}
	*ret = i;
	return 0;
}

int identity_hold(const char *key, const char *cert, const char *ca, struct identity **ret,
		  struct gt_err *err)
{
	struct identity *i = gt_alloc(sizeof(*i));
	int r = gt_pki_identity_pem(cert, strlen(cert), &i->id, err);

	if (r == 0)
		r = tls_member(cert, key, ca, &i->ctx, err);
	if (r < 0) {
		identity_free(i);
		return r;
	}
	*ret = i;
	return 0;
}

void identity_free(struct identity *i)
{
	if (!i)
		return;
	gt_buf_wipe(&i->key);
	gt_buf_fini(&i->ca);
	tls_free(i->ctx);
	free(i);
}

int identity_key(const char *dir, struct gt_buf *key, struct gt_err *err)
{
	if (read_file(dir, IDENTITY_KEY, GT_PKI_PEM_MAX, key, err) == 0)
		return 0;
	gt_buf_fini(key);
	if (err->code != ENOENT)
		return -err->code;
	if (gt_pki_key_new(key, err) < 0)
		return -err->code;
	return write_file(dir, IDENTITY_KEY, key->data, key->len, err);
}

int identity_drop(const char *dir, struct gt_err *err)
{
	static const char *const names[] = { IDENTITY_JOIN, IDENTITY_CERT, IDENTITY_CA,
					     IDENTITY_KEY };
	char path[320];

	for (size_t i = 0; i < GT_LEN(names); i++) {
		path_of(dir, names[i], path);
		if (unlink(path) < 0 && errno != ENOENT)
			return gt_err_errno(err, errno, "remove %s", path);
	}
	return 0;
}

int identity_joined(const char *dir, const struct gt_uplink_joined *joined, const char *cert,
		    const char *ca, struct gt_err *err)
{
	struct ssl_ctx_st *ctx = NULL;
	struct gt_buf key = { 0 };
	struct gt_pki_id id;
	int r = check_ca(ca, joined->ca_pin, err);

	if (r == 0)
		r = check_cert(cert, joined->node, &id, err);
	if (r == 0)
		r = read_file(dir, IDENTITY_KEY, GT_PKI_PEM_MAX, &key, err);
	if (r == 0)
		r = tls_member(cert, gt_buf_str(&key), ca, &ctx, err);
	tls_free(ctx);
	gt_buf_wipe(&key);
	if (r == 0)
		r = write_file(dir, IDENTITY_CA, ca, strlen(ca), err);
	if (r == 0)
		r = write_file(dir, IDENTITY_CERT, cert, strlen(cert), err);
	return r < 0 ? r : write_joined(dir, joined, err);
}

int identity_renew(struct identity *i, const char *cert, struct gt_err *err)
{
	gt_auto(tls) struct ssl_ctx_st *ctx = NULL;
	struct gt_pki_id id;

	if (check_cert(cert, i->joined.node, &id, err) < 0)
		return -err->code;
	if (id.not_before_ms < i->id.not_before_ms)
		return gt_err_set(err, EINVAL, "bad_certificate",
				  "it is older than the present one: the clock of the cluster's "
				  "authority was set back");
	if (tls_member(cert, gt_buf_str(&i->key), gt_buf_str(&i->ca), &ctx, err) < 0 ||
	    write_file(i->dir, IDENTITY_CERT, cert, strlen(cert), err) < 0)
		return -err->code;
	i->id = id;
	tls_free(i->ctx);
	i->ctx = gt_steal(&ctx);
	return 0;
}

int identity_move(struct identity *i, const char *url, struct gt_err *err)
{
	gt_strcopy(i->joined.url, sizeof(i->joined.url), url);
	return write_joined(i->dir, &i->joined, err);
}
