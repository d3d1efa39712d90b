/* image.c - see model/image.h. */
#include <gantry/model/image.h>

#include <signal.h>
#include <string.h>

#include <gantry/base/units.h>

static void strings_free(char **list)
{
	for (char **p = list; p && *p; p++)
		free(*p);
	free(list);
}

void gt_image_record_free(struct gt_image_record *r)
{
	if (!r)
		return;
	strings_free(r->entrypoint);
	strings_free(r->cmd);
	strings_free(r->env);
	free(r->name);
	free(r->user);
	free(r->workdir);
	free(r->stop_signal);
	free(r->layers);
	free(r);
}

void gt_image_config_free(struct gt_image_config *c)
{
	if (!c)
		return;
	strings_free(c->entrypoint);
	strings_free(c->cmd);
	strings_free(c->env);
	free(c->user);
	free(c->workdir);
	free(c->stop_signal);
	free(c->diff_ids);
	free(c);
}

/* "+3" or "-2" behind RTMIN and RTMAX. */
static int realtime_parse(const char *name)
{
	bool from_max = gt_starts_with(name, "RTMAX");
	uint64_t n = 0;

	name += strlen("RTMIN");
	if (*name == '\0')
		return from_max ? SIGRTMAX : SIGRTMIN;
	if (*name != (from_max ? '-' : '+') ||
	    gt_parse_u64(name + 1, (uint64_t)(SIGRTMAX - SIGRTMIN), &n) < 0)
		return 0;
	return from_max ? SIGRTMAX - (int)n : SIGRTMIN + (int)n;
}

int gt_signal_parse(const char *name)
{
	uint64_t n = 0;

	if (gt_parse_u64(name, (uint64_t)SIGRTMAX, &n) == 0)
		return (int)n;
	if (gt_starts_with(name, "SIG"))
		name += 3;
	if (gt_starts_with(name, "RTMIN") || gt_starts_with(name, "RTMAX"))
		return realtime_parse(name);
	for (int signo = 1; signo < SIGRTMIN; signo++) {
		if (gt_streq(sigabbrev_np(signo), name))
			return signo;
	}
	return 0;
}
