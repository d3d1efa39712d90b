/* Help and shell completion, both out of the command table. docs/cli.md carries the same texts. */
#include "cli.h"

#include <string.h>

static const struct {
	int code;
	const char *meaning;
} exits[] = {
	{ GT_EXIT_DONE, "done" },
	{ GT_EXIT_FAILED, "failed" },
	{ GT_EXIT_USAGE, "wrong usage" },
	{ GT_EXIT_ROLLOUT, "the deployed function does not start" },
	{ GT_EXIT_DEADLINE, "time is over, the work goes on" },
	{ GT_EXIT_AUTH, "no token, or one that does not permit it" },
	{ GT_EXIT_CONFLICT, "changed by someone else" },
	{ GT_EXIT_UNREACHABLE, "no daemon answers" },
	{ GT_EXIT_INTERRUPTED, "interrupted" },
};

static void print_flags(FILE *out, const struct gt_flag *flags, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct gt_flag *f = &flags[i];
		char left[64];

		snprintf(left, sizeof(left), "%c%c%s--%s%s%s", f->letter ? '-' : ' ',
			 f->letter ? f->letter : ' ', f->letter ? ", " : "  ", f->name,
			 f->value ? " " : "", f->value ? f->value : "");
		fprintf(out, "  %-27s %s%s\n", left, f->help, f->many ? "; repeatable" : "");
	}
}

void gt_help_all(FILE *out)
{
	fputs("usage: gantry COMMAND [FLAGS] [ARGUMENTS]\n\n", out);
	for (const struct gt_command *const *c = gt_commands; *c; c++)
		fprintf(out, "  %-12s%s\n", (*c)->name, (*c)->summary);
	fputs("\nFlags of every command:\n", out);
	print_flags(out, gt_global_flags.flags, gt_global_flags.n);
	fputs("\nExit codes:\n", out);
	for (size_t i = 0; i < GT_LEN(exits); i++)
		fprintf(out, "  %-4d%s\n", exits[i].code, exits[i].meaning);
	fputs("\n`gantry help COMMAND` tells more.\n", out);
}

void gt_help_command(FILE *out, const struct gt_command *c)
{
	fprintf(out, "usage: gantry %s%s%s\n\n%s\n", c->name, *c->args ? " " : "", c->args,
		c->help);
	if (c->n_flags) {
		fputs("\nFlags:\n", out);
		print_flags(out, c->flags, c->n_flags);
	}
}

static void print_words(FILE *out, const struct gt_flag *flags, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fprintf(out, "%s--%s", i ? " " : "", flags[i].name);
}

void gt_completion_bash(FILE *out)
{
	fputs("# bash completion for gantry; made by `gantry completion bash`\n"
	      "_gantry()\n{\n"
	      "\tlocal cur=${COMP_WORDS[COMP_CWORD]} cmd= words= i\n"
	      "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	      "\t\t[[ ${COMP_WORDS[i]} == -* ]] || { cmd=${COMP_WORDS[i]}; break; }\n"
	      "\tdone\n"
	      "\tlocal global='",
	      out);
	for (size_t i = 0; i < gt_global_flags.n; i++)
		fprintf(out, "%s--%s", i ? " " : "", gt_global_flags.flags[i].name);
	fputs("'\n\tlocal commands='", out);
	for (const struct gt_command *const *c = gt_commands; *c; c++)
		fprintf(out, "%s%s", c == gt_commands ? "" : " ", (*c)->name);
	fputs("'\n\tcase $cmd in\n\t'') words=$commands ;;\n", out);
	for (const struct gt_command *const *c = gt_commands; *c; c++) {
		if (!(*c)->n_flags)
			continue;
		fprintf(out, "\t%s) words='", (*c)->name);
		print_words(out, (*c)->flags, (*c)->n_flags);
		fputs("' ;;\n", out);
	}
	fputs("\tesac\n"
	      "\tcase $cmd,$cur in\n"
	      "\t*,-*) words+=\" $global\" ;;\n"
	      "\thelp,*) words=$commands ;;\n"
	      "\tcompletion,*) words=bash ;;\n"
	      "\tget,* | call,* | logs,* | ps,* | rm,* | events,*) "
	      "words=$(gantry ls --quiet 2>/dev/null) ;;\n"
	      "\tdeploy,*) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
	      "\tesac\n"
	      "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	      "}\ncomplete -F _gantry gantry\n",
	      out);
}
