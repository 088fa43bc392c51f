"""Starts the example service and talks to it: several requests at once, streaming, a bad request, a client that leaves.

Usage: service_test.py <service built on the arithmetic model>
"""

import http.client
import json
import re
import socket
import subprocess
import sys
import threading


def ask(port, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/", body if isinstance(body, str) else json.dumps(body))
    response = connection.getresponse()
    return response.status, response.read().decode("utf-8")


def expected(prompt, count):
    """The arithmetic model continues the alphabet."""
    first = ord(prompt[-1]) - ord("a") + 1
    return "".join(chr(ord("a") + (first + i) % 26) for i in range(count))


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def check_many(port):
    prompts = ["abc"[: 1 + i % 3] + chr(ord("a") + i) for i in range(12)]
    answers = {}

    def one(prompt, count):
        answers[prompt] = ask(port, {"prompt": prompt, "max_tokens": count})

    threads = [threading.Thread(target=one, args=(p, 20 + i)) for i, p in enumerate(prompts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, prompt in enumerate(prompts):
        check(answers[prompt] == (200, expected(prompt, 20 + i)), f"{prompt}: {answers[prompt]}")


def check_refusals(port):
    for body, message in [("no json", "parse"), ({}, "prompt"), ({"prompt": 5}, "type"), ({"prompt": ""}, "the prompt is empty")]:
        status, text = ask(port, body)
        check(status == 400 and "INVALID_ARGUMENT" in text and message in text, f"{body}: {status} {text}")


def main():
    service = subprocess.Popen([sys.argv[1], "unused.plan", "0"], stdout=subprocess.PIPE, text=True)
    try:
        port = int(re.search(r"port (\d+)", service.stdout.readline()).group(1))
        check_many(port)
        check(ask(port, {"prompt": "a", "max_tokens": 50, "stop": ["fg"]}) == (200, "bcde"), "stop string")
        check_refusals(port)
        with socket.create_connection(("127.0.0.1", port)) as leaving:
            leaving.sendall(b'POST / HTTP/1.1\r\nContent-Length: 35\r\n\r\n{"prompt": "a", "max_tokens": 190} ')
        check(ask(port, {"prompt": "a", "max_tokens": 3}) == (200, "bcd"), "after a client left")
        check(service.poll() is None, "the service still runs")
    finally:
        service.kill()
        service.wait()


main()
