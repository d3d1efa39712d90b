#include "doctor.h"

#include <dirent.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/wire/json.h>

#include "commands.h"
#include "table.h"

#define CHECKS_MAX      64
#define CHILD_TIMEOUT_S 5

static const char *const state_names[] = {
	[GT_CHECK_OK] = "ok",
	[GT_CHECK_SKIP] = "skip",
	[GT_CHECK_WARN] = "warn",
	[GT_CHECK_ERROR] = "error",
};
_Static_assert(GT_LEN(state_names) == GT_CHECK_N, "every state has a name");

void gt_finding_set(struct gt_finding *f, enum gt_check_state state, const char *fix,
		    const char *fmt, ...)
{
	va_list ap;

	f->state = state;
	gt_strcopy(f->fix, sizeof(f->fix), fix ? fix : "");
	va_start(ap, fmt);
	vsnprintf(f->detail, sizeof(f->detail), fmt, ap);
	va_end(ap);
}

int gt_in_child(int (*fn)(void *arg), void *arg)
{
	int status = 0;
	pid_t pid = fork();

	if (pid < 0)
		return errno;
	if (pid == 0) {
		signal(SIGALRM, SIG_DFL);
		alarm(CHILD_TIMEOUT_S);
		_exit(fn(arg));
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGALRM ? ETIMEDOUT : ECHILD;
	return WEXITSTATUS(status);
}

int gt_doctor_exit(const struct gt_finding *findings, size_t n)
{
	enum gt_check_state worst = GT_CHECK_OK;

	for (size_t i = 0; i < n; i++)
		worst = GT_MAX(worst, findings[i].state);
	return worst == GT_CHECK_ERROR ? 2 : worst == GT_CHECK_WARN ? 1 : 0;
}

static void print_people(struct gt_cli *cli, const struct gt_check *const *checks,
			 const struct gt_finding *findings, size_t n)
{
	size_t count[GT_CHECK_N] = { 0 };

	for (size_t i = 0; i < n; i++) {
		const char *state = state_names[findings[i].state], *sgr = gt_state_color(state);
		bool color = cli->color && sgr;

		count[findings[i].state]++;
		fprintf(cli->out, "%s%s%s%-5s%s  %-16s ", color ? "\033[" : "", color ? sgr : "",
			color ? "m" : "", state, color ? "\033[0m" : "", checks[i]->name);
		gt_text_print(cli->out, findings[i].detail);
		fputc('\n', cli->out);
		if (!findings[i].fix[0])
			continue;
		fprintf(cli->out, "%24sfix: ", "");
		gt_text_print(cli->out, findings[i].fix);
		fputc('\n', cli->out);
	}
	fprintf(cli->out, "%zu ok, %zu warnings, %zu errors, %zu skipped\n", count[GT_CHECK_OK],
		count[GT_CHECK_WARN], count[GT_CHECK_ERROR], count[GT_CHECK_SKIP]);
}

static void print_json(struct gt_cli *cli, const struct gt_check *const *checks,
		       const struct gt_finding *findings, size_t n)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &text);
	gt_json_object(&j, NULL);
	gt_json_array(&j, "items");
	for (size_t i = 0; i < n; i++) {
		gt_json_object(&j, NULL);
		gt_json_str(&j, "check", checks[i]->name);
		gt_json_str(&j, "state", state_names[findings[i].state]);
		gt_json_str(&j, "detail", findings[i].detail);
		gt_json_str(&j, "fix", findings[i].fix[0] ? findings[i].fix : NULL);
		gt_json_close(&j, '}');
	}
	gt_json_close(&j, ']');
	gt_json_bool(&j, "ok", gt_doctor_exit(findings, n) == 0);
	gt_json_close(&j, '}');
	gt_cli_print_json(cli, &text);
}

/* By name, because a daemon of another user or state directory counts too. */
static bool daemon_process(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	bool found = false;

	while (proc && !found && (e = readdir(proc))) {
		gt_auto(free) char *path = gt_asprintf("/proc/%s/comm", e->d_name);
		gt_auto(file) FILE *f = e->d_name[0] > '0' && e->d_name[0] <= '9'
						? fopen(path, "re")
						: NULL;
		char comm[32];

		found = f && fgets(comm, sizeof(comm), f) && gt_starts_with(comm, "gantryd");
	}
	if (proc)
		closedir(proc);
	return found;
}

static void look_around(struct gt_doctor *d)
{
	struct gt_find find = {
		.url = gt_args_get(&d->cli->args, "url"),
		.ca = gt_args_get(&d->cli->args, "ca"),
		.token = gt_args_get(&d->cli->args, "token"),
		.token_file = gt_args_get(&d->cli->args, "token-file"),
	};
	const char *named = gt_args_get(&d->cli->args, "state"), *env = getenv("GANTRY_STATE");

	d->root = geteuid() == 0;
	if (gt_target_find(&find, &d->target, &d->why) < 0)
		d->target = (struct gt_target){ 0 };
	d->daemon_runs = d->target.pid > 0 || daemon_process();
	d->state = named             ? named
		   : d->target.state ? d->target.state
		   : env && *env     ? env
				     : "/var/lib/gantry";
}

static enum gt_exit run(struct gt_cli *cli)
{
	static const struct gt_checks *const groups[] = { &gt_checks_kernel, &gt_checks_cgroup,
							  &gt_checks_host, &gt_checks_join,
							  &gt_checks_daemon };
	struct gt_finding findings[CHECKS_MAX] = { 0 };
	const struct gt_check *checks[CHECKS_MAX];
	struct gt_doctor d = { .cli = cli };
	size_t n = 0;

	look_around(&d);
	for (size_t g = 0; g < GT_LEN(groups); g++) {
		for (size_t i = 0; i < groups[g]->n && n < CHECKS_MAX; i++) {
			checks[n] = &groups[g]->rows[i];
			checks[n]->run(&d, &findings[n]);
			n++;
		}
	}
	if (cli->json)
		print_json(cli, checks, findings, n);
	else
		print_people(cli, checks, findings, n);
	gt_target_fini(&d.target);
	return (enum gt_exit)gt_doctor_exit(findings, n);
}

static const struct gt_flag flags[] = {
	{ "state", 0, "DIR", "state directory to look at (default: the local daemon's)", false },
};

const struct gt_command gt_cmd_doctor = {
	.name = "doctor",
	.args = "[--state DIR]",
	.summary = "can this machine run functions? says what to fix",
	.help = "Tries what a daemon needs of this machine (kernel, cgroups, disk, limits), looks "
		"for what a\n"
		"dead daemon left behind, and asks the daemon how it is. Each finding names its "
		"fix. It\n"
		"changes nothing. Exit codes: 0 all well, 1 warnings, 2 errors.",
	.flags = flags,
	.n_flags = GT_LEN(flags),
	.run = run,
};
