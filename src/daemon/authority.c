#include "authority.h"

#include <gantry/base/log.h>

static int load(struct gt_store *store, struct gt_pki_ca **ret, struct gt_err *err)
{
	struct gt_buf key = { 0 };
	gt_auto(buf) struct gt_buf cert = { 0 };
	int r;

	gt_buf_init(&key, GT_PKI_PEM_MAX);
	gt_buf_init(&cert, GT_PKI_PEM_MAX);
	r = gt_store_authority(store, &key, &cert, err);
	if (r == 0)
		r = gt_pki_ca_open(gt_buf_str(&key), gt_buf_str(&cert), ret, err);
	gt_buf_wipe(&key);
	return r;
}

static int make(struct gt_store *store, uint64_t now_ms, struct gt_err *err)
{
	struct gt_buf key = { 0 };
	gt_auto(buf) struct gt_buf cert = { 0 };
	int r = gt_pki_ca_new(now_ms, &key, &cert, err);

	if (r == 0)
		r = gt_store_authority_keep(store, key.data, cert.data, err);
	gt_buf_wipe(&key);
	return r;
}

int gt_authority_open(struct gt_store *store, uint64_t now_ms, struct gt_pki_ca **ret,
		      struct gt_err *err)
{
	int r = load(store, ret, err);

	if (now_ms < GT_PKI_LEAST_MS)
		gt_warn("this machine's clock was never set: times are wrong, schedules run by it, "
			"and no host can join until it is");
	if (r == -ENOENT) {
		gt_info("the cluster's authority for certificates is made");
		r = make(store, now_ms, err);
		if (r == 0)
			r = load(store, ret, err);
	}
	return r < 0 ? gt_err_wrap(err, "the authority for certificates") : 0;
}
