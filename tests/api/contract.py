"""openapi.yaml as a judge: does an answer of the daemon keep to it?"""
import pathlib
import re

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
METHODS = ("get", "head", "post", "delete")
DOCUMENT = yaml.safe_load((ROOT / "openapi.yaml").read_text())


def operations():
    """(method, path, operation) of each."""
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in item:
                yield method.upper(), path, item[method]


def resolve(node):
    while "$ref" in node:
        target = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def find(method, path):
    """The operation that this request is; fixed paths come before those with parameters."""
    fitting = []
    for name, template, operation in operations():
        pattern = "".join("[^/]+" if part.startswith("{") else re.escape(part)
                          for part in re.split(r"(\{[^}]+\})", template))
        if name == method and re.fullmatch(pattern, path):
            fitting.append((template.count("{"), operation))
    assert fitting, f"{method} {path} is not in openapi.yaml"
    return min(fitting, key=lambda one: one[0])[1]


def schema_of(response, content_type):
    content = response.get("content", {})
    assert content_type in content or "*/*" in content, f"{content_type} is none of {list(content)}"
    return content.get(content_type, content.get("*/*")).get("schema", {})


def validate(value, schema):
    jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


def check(answer):
    """An httpx2 answer: status, headers and body must be what its operation allows. Returns the JSON body."""
    request = answer.request
    operation = find(request.method, request.url.path)
    assert str(answer.status_code) in operation["responses"], f"{answer.status_code} of {request.method} {request.url}"
    response = resolve(operation["responses"][str(answer.status_code)])
    for name, header in response.get("headers", {}).items():
        check_header(answer, name, resolve(header))
    if request.method == "HEAD" or answer.status_code == 304:
        return None
    content_type = answer.headers["content-type"].split(";")[0]
    schema = schema_of(response, content_type)
    if content_type != "application/json":
        return None
    validate(answer.json(), schema)
    return answer.json()


def check_header(answer, name, header):
    assert name in answer.headers or not header.get("required", True), f"no {name}"
    if name in answer.headers:
        validate(answer.headers[name], header["schema"])
