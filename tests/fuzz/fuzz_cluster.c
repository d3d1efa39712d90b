/* What peers of the cluster may ask for, what nodes answer on pipes, and what a gateway that led
 * before says of its slots: whatever comes, a node gets to its own paths alone, only "ok" and a
 * whole errno are answers, and a line is what its reading would be written as. The first byte says
 * who asks. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/gateway/cluster.h"
#include "../../src/gateway/holds.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static bool begins(const char *target, size_t len, const char *text)
{
	return len >= strlen(text) && !memcmp(target, text, strlen(text));
}

static void check_path(const struct gt_cluster_peer *who, const char *target, size_t len)
{
	static const char own[] = "/link/v1/nodes/far/";
	struct gt_cluster_path p = gt_cluster_path_read(who, target, len);

	switch (p.way) {
	case GT_CLUSTER_LINK:
		if (who->kind == GT_CLUSTER_STRANGER)
			assert(len == strlen("/link/v1/join") &&
			       begins(target, len, "/link/v1/join"));
		else
			assert((who->kind == GT_CLUSTER_NODE || who->kind == GT_CLUSTER_GATEWAY) &&
			       begins(target, len, own) &&
			       !memchr(target + strlen(own), '/', len - strlen(own)));
		break;
	case GT_CLUSTER_PIPE:
		assert((who->kind == GT_CLUSTER_NODE || who->kind == GT_CLUSTER_GATEWAY) &&
		       begins(target, len, own) && p.shard < 65536 && p.node_len == 3 &&
		       !memcmp(p.node, "far", 3));
		break;
	case GT_CLUSTER_HOLDS:
		assert(who->kind == GT_CLUSTER_GATEWAY &&
		       len == strlen("/link/v1/nodes/far/holds") &&
		       begins(target, len, "/link/v1/nodes/far/holds"));
		break;
	case GT_CLUSTER_AGENT:
		assert(who->kind == GT_CLUSTER_CONTROL && p.rest < len && target[p.rest] == '/' &&
		       p.node_len > 0 && p.node_len < GT_PKI_NAME_SIZE &&
		       !memchr(p.node, '/', p.node_len) && p.node + p.node_len < target + len);
		break;
	case GT_CLUSTER_NOWHERE:
		assert(!begins(target, len, "/link/"));
		break;
	default:
		assert(begins(target, len, "/link/"));
	}
}

static void check_answer(const char *text, size_t len)
{
	char again[16];
	int r = gt_cluster_answer(text, len);
	int n = r > 0 ? snprintf(again, sizeof(again), "err %d", r) : 2;

	if (r < 0)
		return;
	assert(len == (size_t)n && !memcmp(text, r > 0 ? again : "ok", len));
}

static void check_hold(const char *text, size_t len)
{
	struct gt_hold_line l;
	char again[64] = "all";

	if (gt_hold_read(text, len, &l) < 0)
		return;
	if (l.word != GT_HOLD_ALL)
		snprintf(again, sizeof(again), "%s %u %s",
			 l.word == GT_HOLD_HELD ? "held" : "given", l.n, l.replica);
	assert(len == strlen(again) && !memcmp(text, again, len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct gt_cluster_peer who = { .id = { .name = "far" } };
	/* Of the right size, so that one byte too far is seen. */
	char *copy = len ? gt_alloc(len) : NULL;

	if (!len)
		return 0;
	memcpy(copy, data + 1, len - 1);
	copy = gt_grow(copy, GT_MAX(len - 1, 1u), 1);
	who.kind = (enum gt_cluster_kind)(data[0] % 5);
	check_path(&who, copy, len - 1);
	check_answer(copy, len - 1);
	check_hold(copy, len - 1);
	free(copy);
	return 0;
}
