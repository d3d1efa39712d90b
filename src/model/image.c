/* image.c - releasing an image's configuration. */
#include <gantry/model/image.h>

#include <stdlib.h>

static void strs_free(char **list)
{
	for (char **s = list; s && *s; s++)
		free(*s);
	free(list);
}

void gt_image_config_free(struct gt_image_config *c)
{
	if (!c)
		return;
	strs_free(c->entrypoint);
	strs_free(c->cmd);
	strs_free(c->env);
	free(c->user);
	free(c->workdir);
	free(c->stop_signal);
	free(c->diff_ids);
	free(c);
}
