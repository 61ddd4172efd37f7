"""Identifiers in SQL text: quoted always, so a column may be called ``order``."""


def quote(identifier: str) -> str:
    """An identifier as SQL text.

    >>> quote("order")
    '"order"'
    """
    return '"' + identifier.replace('"', '""') + '"'


def quote_all(identifiers: tuple[str, ...] | list[str]) -> str:
    """A comma-separated list of identifiers as SQL text.

    >>> quote_all(("raceId", "order"))
    '"raceId", "order"'
    """
    return ", ".join(quote(identifier) for identifier in identifiers)


def split_name(table: str) -> tuple[str, str]:
    """Schema and name of a table written ``schema.name``.

    >>> split_name("raw.races")
    ('raw', 'races')
    """
    schema, dot, name = table.partition(".")
    if not (schema and dot and name):
        raise ValueError(f"a table is named schema.name, got {table!r}")
    return schema, name


def quote_table(table: str) -> str:
    """A table written ``schema.name`` as SQL text.

    >>> quote_table("raw.races")
    '"raw"."races"'
    """
    schema, name = split_name(table)
    return f"{quote(schema)}.{quote(name)}"


def literal(value: str) -> str:
    """A text value as SQL text.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + value.replace("'", "''") + "'"
