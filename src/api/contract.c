/* api/contract.c - docs/openapi.yaml inside the program. */
#include "api_priv.h"

/* The assembler reads the file: no generated source, and no copy that could grow old. */
__asm__(".section .rodata\n"
	".global gt_contract_start, gt_contract_end\n"
	"gt_contract_start:\n"
	".incbin \"docs/openapi.yaml\"\n"
	"gt_contract_end:\n"
	".byte 0\n"
	".previous\n");
extern const char gt_contract_start[], gt_contract_end[];

const char *gt_api_contract(size_t *len)
{
	*len = (size_t)(gt_contract_end - gt_contract_start);
	return gt_contract_start;
}
