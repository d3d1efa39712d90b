"""A model with random weights on the GPU that reads a context: what it takes there is what an estimate is held against.

model.py CONFIG.JSON TOKENS    prints {"weight_bytes", "cache_bytes"} when the context is read, and stays until its input ends."""
import json
import os
import sys

CHUNK = 2048  # tokens at once, as the estimate has it

os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")


def main():
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with open(sys.argv[1], encoding="utf-8") as f:
        members = json.load(f)
    tokens = int(sys.argv[2])
    config = AutoConfig.for_model(members.pop("model_type"), **members)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(config).eval()
    weights = {p.data_ptr(): p.numel() * p.element_size() for p in model.parameters()}
    before, cache = torch.cuda.memory_allocated(), None
    ids = torch.randint(0, config.vocab_size, (1, tokens), device="cuda")
    with torch.no_grad():
        for at in range(0, tokens, CHUNK):
            out = model(ids[:, at:at + CHUNK], past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = out.past_key_values
    del out
    torch.cuda.synchronize()
    print(json.dumps({"weight_bytes": sum(weights.values()), "cache_bytes": torch.cuda.memory_allocated() - before}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
