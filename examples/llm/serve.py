"""llama.cpp's own OpenAI-compatible server with one model, on 127.0.0.1:$PORT."""
import os
import signal
import sys

import xllamacpp

# The model is a base model (not tuned for chat), so a question is put the way it saw questions in
# its training data.
CHAT_TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'user' %}Question: {{ m['content'] }}\n"
    "{% elif m['role'] == 'assistant' %}Answer: {{ m['content'] }}\n\n"
    "{% else %}{{ m['content'] }}\n\n{% endif %}"
    "{% endfor %}Answer:"
)


def main():
    # Before the engine starts its threads: they inherit the mask, so the signal waits for us.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.model_alias = {sys.argv[2]}
    params.hostnames = ["127.0.0.1"]
    params.port = int(os.environ.get("PORT", "8000"))
    params.n_ctx = 4096
    params.n_parallel = 2
    params.n_gpu_layers = 0
    params.use_jinja = True
    params.chat_template = CHAT_TEMPLATE
    params.antiprompt = ["\nQuestion:"]  # or it goes on to ask itself the next one
    params.cache_ram_mib = 0
    params.ui = False
    server = xllamacpp.Server(params)
    print(f"serving {sys.argv[2]} at {server.listening_address}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    # No call is in flight any more. The engine's own end joins its threads, which can take for ever.
    os._exit(0)


main()
