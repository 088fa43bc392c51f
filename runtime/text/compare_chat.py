"""Compares platen's chat templates with jinja2 set up as transformers sets it up, text for text.

    compare_chat.py --tool platen_chat_tool --count N TEMPLATE...

Conversations come from a seed. Where jinja2 raises, platen must report an error too. Ends with 0 when nothing differs, 77 when
jinja2 is not installed.
"""
import argparse
import datetime
import json
import random
import subprocess
import sys

try:
    import jinja2
    import jinja2.ext
    import jinja2.sandbox
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

NOW = 1767225600 + 86400 * 40
WORDS = ["Hello", "world", "été", "日本", "🙂", "\n", "  ", "<think>", "</think>", "'quoted'", '"double"', "\\", "{{x}}", "a<b>&c", "1,234", "\t", "Was?", "<tool_response>", "</tool_response>"]


class Generation(jinja2.ext.Extension):
    """{% generation %} marks what an assistant wrote; it renders as its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(form)
    return env


def text(rng):
    return "".join(rng.choice(WORDS) + rng.choice(["", " "]) for _ in range(rng.randrange(0, 9)))


def value(rng, depth=0):
    makers = [lambda: text(rng), lambda: rng.randrange(-9, 10**6), lambda: rng.random() * 10 ** rng.randrange(-8, 20), lambda: None, lambda: rng.random() < 0.5]
    if depth < 3:
        makers += [lambda: [value(rng, depth + 1) for _ in range(rng.randrange(4))],
                   lambda: {rng.choice(["a", "b c", "ü", "type"]) + str(i): value(rng, depth + 1) for i in range(rng.randrange(4))}]
    return rng.choice(makers)()


def schema(rng, depth=0):
    kinds = ["string", "number", "boolean", "array", "object", ["string", "null"]]
    kind = rng.choice(kinds if depth < 2 else kinds[:3])
    out = {"type": kind}
    if rng.random() < 0.5:
        out["description"] = text(rng)
    if kind == "string" and rng.random() < 0.4:
        out["enum"] = ["one", "zwei", "três"]
        if rng.random() < 0.5:
            out["default"] = "one"
    if kind == "array" and rng.random() < 0.7:
        out["items"] = schema(rng, depth + 1)
    if kind == "object":
        out["properties"] = {f"p{i}": schema(rng, depth + 1) for i in range(rng.randrange(3))}
        out["required"] = [p for p in out["properties"] if rng.random() < 0.5]
    if rng.random() < 0.2:
        out["nullable"] = True
    return out


def tool(rng):
    parameters = {"type": "object", "properties": {f"arg{i}": schema(rng) for i in range(rng.randrange(4))}, "required": ["arg0"]}
    return {"type": "function", "function": {"name": rng.choice(["look_up", "add", "weather"]), "description": text(rng), "parameters": parameters}}


def conversation(rng):
    messages = [{"role": "system", "content": text(rng)}] if rng.random() < 0.5 else []
    for _ in range(rng.randrange(0, 4)):
        content = text(rng) if rng.random() < 0.85 else [{"type": "text", "text": text(rng)}, {"type": "image"}]
        messages.append({"role": "user", "content": content})
        kind = rng.random()
        if kind < 0.25:
            calls = [{"type": "function", "id": f"call{rng.randrange(10**9):09}", "function": {"name": "look_up", "arguments": {"q": value(rng)}}}
                     for _ in range(rng.choice([1, 1, 1, 2]))]
            messages.append({"role": "assistant", "content": rng.choice([text(rng), "", None]), "tool_calls": calls})
            messages += [{"role": "tool", "content": text(rng) if rng.random() < 0.7 else value(rng), "tool_call_id": c["id"]} for c in calls]
        if kind < 0.9:
            messages.append({"role": "assistant", "content": text(rng)})
            if rng.random() < 0.2:
                messages[-1]["reasoning_content"] = text(rng)
    return messages or [{"role": "user", "content": text(rng)}]


def requests(rng, count):
    for _ in range(count):
        variables = {"bos_token": "<s>", "eos_token": "</s>"}
        for name, choices in (("enable_thinking", [True, False]), ("reasoning_effort", ["low", "high"]), ("date_string", ["01 Jan 2020"]),
                              ("tools_in_user_message", [True, False])):
            if rng.random() < 0.3:
                variables[name] = rng.choice(choices)
        yield {"messages": conversation(rng), "tools": [tool(rng) for _ in range(rng.randrange(1, 3))] if rng.random() < 0.4 else None,
               "variables": variables, "add_generation_prompt": rng.random() < 0.5, "now": NOW}


def reference(template, request):
    try:
        return {"text": template.render(messages=request["messages"], tools=request["tools"], documents=None,
                                        add_generation_prompt=request["add_generation_prompt"], **request["variables"])}
    except (jinja2.exceptions.TemplateError, TypeError, ValueError) as error:
        return {"error": str(error)}


def compare(tool_path, path, count, seed):
    with open(path, newline="") as file:
        template = environment().from_string(file.read())
    asked = list(requests(random.Random(seed), count))
    lines = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in asked)
    run = subprocess.run([tool_path, path], input=lines.encode(), capture_output=True)
    if run.returncode != 0:
        print(f"FAILED {path}: {run.stderr.decode()}")
        return False
    got = [json.loads(line) for line in run.stdout.decode().split("\n") if line]
    want = [reference(template, r) for r in asked]
    wrong = [i for i in range(count) if i >= len(got) or (got[i] != want[i] if "text" in want[i] else "error" not in got[i])]
    raised = sum("error" in w for w in want)
    print(f"{'FAILED' if wrong else 'ok':6} {path}: {count} compared ({raised} raise), {len(wrong)} differ")
    for i in wrong[:2]:
        print(f"    request   {asked[i]!r}\n    platen    {got[i]!r}\n    reference {want[i]!r}")
    return not wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", required=True)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("templates", nargs="+")
    args = parser.parse_args()
    return 0 if all([compare(args.tool, path, args.count, args.seed) for path in args.templates]) else 1


if __name__ == "__main__":
    sys.exit(main())
