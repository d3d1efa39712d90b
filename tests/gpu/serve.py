"""A small inference server: a transformers model with random weights, made once, loaded from safetensors.

serve.py DIR PORT    DIR holds the model; it is made there when it is not.
GET /health answers 200 when the model is on the GPU; GET /generate answers the tokens of a fixed prompt."""
import http.server
import json
import pathlib
import sys
import time

HIDDEN, LAYERS = 2048, 16  # about 1.1 billion parameters


def make(directory):
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(vocab_size=32000, hidden_size=HIDDEN, intermediate_size=5632, num_hidden_layers=LAYERS,
                         num_attention_heads=16, num_key_value_heads=8, max_position_embeddings=4096)
    torch.manual_seed(11)
    model = AutoModelForCausalLM.from_config(config, torch_dtype=torch.bfloat16)
    model.save_pretrained(directory, safe_serialization=True)


def load(directory):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, torch_dtype=torch.bfloat16)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def generate(model):
    import torch

    prompt = torch.arange(1, 33, device=model.device)[None]
    with torch.no_grad():
        out = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=16, do_sample=False,
                             pad_token_id=0)
    return out[0].tolist()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model = None

    def do_GET(self):
        begin = time.monotonic()
        body = {"ok": True}
        if self.path == "/generate":
            body = {"tokens": generate(self.model), "ms": (time.monotonic() - begin) * 1000}
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


def main():
    directory, port = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    if not (directory / "config.json").exists():
        make(directory)
        if port == 0:
            return
    Handler.model = load(directory)
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
