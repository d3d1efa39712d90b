#include "providers.h"

#include <string.h>

#include <gantry/http/digest.h>

_Static_assert(GT_HOST_TOKEN_SIZE >= GT_PKI_TOKEN_SIZE, "a token has room");

int gt_providers_read(struct gt_providers *p, const struct gt_config *conf, struct gt_err *err)
{
	for (; p->n < conf->n_providers; p->n++)
		if (gt_config_provider(conf, p->n, &p->list[p->n], err) < 0)
			return -err->code;
	return 0;
}

void gt_providers_open(struct gt_providers *p, struct gt_loop *loop, struct gt_http_client *client,
		       const struct gt_pki_ca *authority,
		       const struct gt_webhook_keys *webhook_keys)
{
	const struct gt_hooks_config config = {
		.loop = loop, .client = client, .keys = webhook_keys, .cluster = p->cluster
	};

	p->pin = gt_pki_ca_pin(authority);
	memcpy(p->cluster, p->pin, sizeof(p->cluster) - 1);
	p->hooks = gt_hooks_new(&config);
}

int gt_providers_token(const struct gt_providers *p, char text[GT_HOST_TOKEN_SIZE],
		       struct gt_join_token *ret, struct gt_err *err)
{
	if (gt_pki_token_new(p->pin, text, err) < 0)
		return -err->code;
	gt_ulid(&gt_clock_system, &gt_rand_system, ret->id);
	gt_sha256_hex(text, strlen(text), ret->digest);
	return 0;
}

void gt_providers_close(struct gt_providers *p)
{
	gt_hooks_free(p->hooks);
	p->hooks = NULL;
}
