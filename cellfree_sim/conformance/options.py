"""Options of an extension, whatever its kind."""

from __future__ import annotations

from pydantic import ValidationError

from cellfree_sim.conformance.checks import Run, Subject, expect


def _survives_json(subject: Subject) -> str | None:
    option = type(subject.options)
    text = subject.options.model_dump_json()
    again = option.model_validate_json(text)
    expect(again == subject.options, f"made {again!r} of what was {subject.options!r}")
    return None


def _refuses_unknown(subject: Subject) -> str | None:
    option = type(subject.options)
    given = {**subject.options.model_dump(mode="json"), "no_such_option": 1}
    try:
        option.model_validate(given)
    except ValidationError:
        return None
    raise AssertionError("takes an option 'no_such_option'; expected an error (model_config extra='forbid')")


def _says_what_it_is(subject: Subject) -> str | None:
    option = type(subject.options)
    schema = option.model_json_schema()
    expect((option.__doc__ or "").strip(), "has no docstring; expected what it is, in the first line")
    silent = [
        key
        for key, field in option.model_fields.items()
        if key != "name" and field.description is None and "description" not in schema["properties"].get(key, {})
    ]
    return f"without a description: {', '.join(silent)}" if silent else None


CHECKS: dict[str, Run] = {
    "options survive JSON": _survives_json,
    "unknown options are refused": _refuses_unknown,
    "it says what it is": _says_what_it_is,
}
