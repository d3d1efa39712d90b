/* spec.c - reading the flat specification. It comes from the agent, but a mistake there must end in
 * a refusal and not in a wild pointer of process 1. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "init.h"

struct cursor {
	char *at, *end;
};

static void *take(struct cursor *c, size_t size)
{
	char *p = c->at;

	if (size > (size_t)(c->end - c->at))
		init_fail(GT_INIT_STEP_PROTOCOL, EBADMSG, 0);
	c->at += size;
	return p;
}

static char *take_string(struct cursor *c)
{
	return take(c, strnlen(c->at, (size_t)(c->end - c->at)) + 1);
}

static char **take_strings(struct cursor *c, size_t n, size_t spare)
{
	char **list = calloc(n + spare + 1, sizeof(*list));

	if (!list)
		init_fail(GT_INIT_STEP_PROTOCOL, ENOMEM, 0);
	for (size_t i = 0; i < n; i++)
		list[i] = take_string(c);
	return list;
}

static void take_foreign(struct cursor *c, size_t len, struct init_spec *ret)
{
	const struct gt_init_foreign *f = ret->foreign;

	if (f->n_groups > GT_INIT_FOREIGN_MAX || f->n_limits > GT_INIT_FOREIGN_MAX ||
	    f->n_masked > len || f->n_readonly > len || f->n_sysctls > len)
		init_fail(GT_INIT_STEP_PROTOCOL, EBADMSG, 0);
	ret->domainname = take_string(c);
	ret->masked = take_strings(c, f->n_masked, 0);
	ret->readonly = take_strings(c, f->n_readonly, 0);
	ret->sysctls = take_strings(c, (size_t)f->n_sysctls * 2, 0);
}

static void take_inject_strings(struct cursor *c, size_t len, struct init_spec *ret)
{
	const struct gt_init_inject *i = ret->inject;

	if (i->n_links > len || i->n_texts > len || i->n_hides > len)
		init_fail(GT_INIT_STEP_PROTOCOL, EBADMSG, 0);
	ret->node_paths = take_strings(c, i->n_nodes, 0);
	ret->links = take_strings(c, (size_t)i->n_links * 2, 0);
	ret->texts = take_strings(c, (size_t)i->n_texts * 2, 0);
	ret->hides = take_strings(c, i->n_hides, 0);
}

void init_spec_read(int fd, size_t len, struct init_spec *ret)
{
	char *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	struct cursor c = { map, map + len };
	const struct gt_init_spec *head;

	if (map == MAP_FAILED)
		init_fail(GT_INIT_STEP_PROTOCOL, errno, 0);
	head = take(&c, sizeof(*head));
	if (head->magic != GT_INIT_MAGIC || head->n_filter > USHRT_MAX ||
	    head->n_mounts > GT_INIT_FDS_MAX || head->n_argv == 0 || head->n_argv > len ||
	    head->n_env > len)
		init_fail(GT_INIT_STEP_PROTOCOL, EBADMSG, 0);
	ret->head = head;
	ret->filter = take(&c, (size_t)head->n_filter * 8);
	ret->mounts = take(&c, head->n_mounts * sizeof(*ret->mounts));
	ret->foreign = head->foreign ? take(&c, sizeof(*ret->foreign)) : NULL;
	ret->inject = head->inject ? take(&c, sizeof(*ret->inject)) : NULL;
	if (ret->inject && ret->inject->n_nodes > len)
		init_fail(GT_INIT_STEP_PROTOCOL, EBADMSG, 0);
	if (ret->inject)
		ret->nodes = take(&c, ret->inject->n_nodes * sizeof(*ret->nodes));
	ret->workdir = take_string(&c);
	ret->hostname = take_string(&c);
	ret->user = take_string(&c);
	ret->argv = take_strings(&c, head->n_argv, 0);
	ret->envp = take_strings(&c, head->n_env, 1 + GT_INIT_GO_ENV);
	ret->paths = take_strings(&c, head->n_mounts, 0);
	if (ret->foreign)
		take_foreign(&c, len, ret);
	if (ret->inject)
		take_inject_strings(&c, len, ret);
}
