"""A retrieval app as there are many: FastAPI, a full-text index, and not a word about NATS."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field

DOCUMENTS = Path(__file__).parent / "documents"

app = FastAPI(title="Retrieval")


class Query(BaseModel):
    text: str = Field(min_length=1, max_length=500)
    limit: int = Field(default=3, ge=1, le=20)


class Hit(BaseModel):
    document: str
    passage: str


class Answer(BaseModel):
    asked_by: str
    hits: list[Hit]


@contextmanager
def index() -> Iterator[sqlite3.Connection]:
    """The documents in SQLite's full-text index, best match first by BM25."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE documents USING fts5(name, body, tokenize=porter)")
        rows = [(path.stem, path.read_text()) for path in sorted(DOCUMENTS.glob("*.txt"))]
        connection.executemany("INSERT INTO documents VALUES (?, ?)", rows)
        yield connection
    finally:
        connection.close()


SEARCH = """
SELECT name, snippet(documents, 1, '', '', '...', 12)
FROM documents WHERE documents MATCH ? ORDER BY rank LIMIT ?
"""


@app.post("/query")
def query(question: Query, request: Request) -> Answer:
    words = [f'"{word}"' for word in question.text.replace('"', " ").split()]
    with index() as connection:
        rows = connection.execute(SEARCH, (" OR ".join(words), question.limit))
        hits = [Hit(document=name, passage=passage) for name, passage in rows]
    return Answer(asked_by=request.headers.get("x-syft-user", "somebody"), hits=hits)
