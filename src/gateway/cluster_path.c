/* cluster_path.c - what a peer of the cluster may ask for, and what it answers. All of it is
 * compared byte by byte: nothing is decoded, so nothing has a second form. */
#include "cluster.h"
#include "holds.h"

#include <string.h>

#include <gantry/base/units.h>

#define NODES     "/link/v1/nodes/"
#define SHARD_MAX 65535
#define ERRNO_MAX 4095
#define SLOTS_MAX UINT16_MAX

struct piece {
	const char *at;
	size_t len;
};

static bool skip(struct piece *p, const char *text)
{
	size_t n = strlen(text);

	if (p->len < n || memcmp(p->at, text, n) != 0)
		return false;
	p->at += n;
	p->len -= n;
	return true;
}

static bool is(struct piece p, const char *text)
{
	return skip(&p, text) && !p.len;
}

static size_t name_len(struct piece p)
{
	const char *slash = memchr(p.at, '/', p.len);
	size_t n = slash ? (size_t)(slash - p.at) : p.len;

	return n < GT_PKI_NAME_SIZE ? n : 0;
}

static int decimal(struct piece p, uint64_t max, uint64_t *ret)
{
	char text[8];

	if (!p.len || p.len >= sizeof(text) || memchr(p.at, '\0', p.len))
		return -EINVAL;
	memcpy(text, p.at, p.len);
	text[p.len] = '\0';
	return gt_parse_u64(text, max, ret);
}

static bool is_pipe(struct piece p, unsigned *shard)
{
	uint64_t n;

	if (!skip(&p, "pipe?shard=") || decimal(p, SHARD_MAX, &n) < 0)
		return false;
	*shard = (unsigned)n;
	return true;
}

/* `p` is what follows the name of its own node. */
static enum gt_cluster_way of_node(struct piece p, enum gt_cluster_kind kind, unsigned *shard)
{
	static const char *const relayed[] = { "desired", "report", "certificate" };

	for (size_t i = 0; i < GT_LEN(relayed); i++)
		if (is(p, relayed[i]))
			return GT_CLUSTER_LINK;
	if (kind == GT_CLUSTER_GATEWAY && is(p, "holds"))
		return GT_CLUSTER_HOLDS;
	return is_pipe(p, shard) ? GT_CLUSTER_PIPE : GT_CLUSTER_DENIED;
}

struct gt_cluster_path gt_cluster_path_read(const struct gt_cluster_peer *who, const char *target,
					    size_t len)
{
	struct gt_cluster_path path = { .way = GT_CLUSTER_DENIED };
	struct piece p = { target, len };

	if (!skip(&p, "/link/"))
		return (struct gt_cluster_path){ .way = GT_CLUSTER_NOWHERE };
	if (who->kind == GT_CLUSTER_STRANGER && is(p, "v1/join"))
		path.way = GT_CLUSTER_LINK;
	p = (struct piece){ target, len };
	if (who->kind < GT_CLUSTER_NODE || who->kind == GT_CLUSTER_REMOVED || !skip(&p, NODES) ||
	    !name_len(p))
		return path;
	path.node = p.at;
	path.node_len = name_len(p);
	p.at += path.node_len;
	p.len -= path.node_len;
	if (who->kind == GT_CLUSTER_CONTROL) {
		bool agent = skip(&p, "/agent") && p.len && p.at[0] == '/';

		path.way = agent ? GT_CLUSTER_AGENT : GT_CLUSTER_DENIED;
		path.rest = len - p.len;
	} else if (strlen(who->id.name) == path.node_len &&
		   !memcmp(who->id.name, path.node, path.node_len) && skip(&p, "/")) {
		path.way = of_node(p, who->kind, &path.shard);
	}
	return path;
}

static bool is_replica(struct piece p)
{
	for (size_t i = 0; i < p.len; i++)
		if (!memchr("0123456789ABCDEFGHJKMNPQRSTVWXYZ", p.at[i], 32))
			return false;
	return p.len == GT_REPLICA_ID_SIZE - 1;
}

int gt_hold_read(const char *text, size_t len, struct gt_hold_line *ret)
{
	struct piece p = { text, len }, number;
	struct gt_hold_line line = { .word = GT_HOLD_ALL };
	const char *blank;
	uint64_t n;

	if (!is(p, "all")) {
		line.word = skip(&p, "held ") ? GT_HOLD_HELD : GT_HOLD_GIVEN;
		if (line.word == GT_HOLD_GIVEN && !skip(&p, "given "))
			return -EPROTO;
		blank = memchr(p.at, ' ', p.len);
		number = (struct piece){ p.at, blank ? (size_t)(blank - p.at) : 0 };
		if (decimal(number, SLOTS_MAX, &n) < 0 || number.at[0] == '0')
			return -EPROTO;
		p.at += number.len + 1;
		p.len -= number.len + 1;
		if (!is_replica(p))
			return -EPROTO;
		line.n = (uint32_t)n;
		memcpy(line.replica, p.at, p.len);
	}
	*ret = line;
	return 0;
}

int gt_cluster_answer(const char *text, size_t len)
{
	struct piece p = { text, len };
	uint64_t error;

	if (is(p, "ok"))
		return 0;
	if (!skip(&p, "err ") || decimal(p, ERRNO_MAX, &error) < 0 || p.at[0] == '0')
		return -EPROTO;
	return (int)error;
}
