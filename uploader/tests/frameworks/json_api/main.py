# The API: plants in memory, below /data.
import asyncio
import hashlib
import os
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.security import HTTPBearer
from fastapi.websockets import WebSocket, WebSocketDisconnect
from pydantic import BaseModel, Field

FILES = Path(os.environ["API_DATA"])
READER = os.environ["API_READER_TOKEN"]
WRITER = os.environ["API_WRITER_TOKEN"]
FAMILIES = ["Aspleniaceae", "Fagaceae & kin", "Rosaceae+", "Ericaceae/heath"]

app = FastAPI(openapi_url="/data/openapi.json", docs_url=None, redoc_url=None)
bearer = HTTPBearer(auto_error=False)
go_on = asyncio.Event()


class Plant(BaseModel):
    name: str = Field(min_length=1)
    family: str
    height_cm: int = Field(ge=0)


class Change(BaseModel):
    family: str | None = None
    height_cm: int | None = Field(default=None, ge=0)


plants = {
    number: Plant(name=f"plant {number}", family=FAMILIES[number % len(FAMILIES)], height_cm=10 * number)
    for number in range(1, 26)
}


def reader(credentials: Annotated[object, Depends(bearer)]):
    """Whoever has a token."""
    if credentials is None or credentials.credentials not in (READER, WRITER):
        said = 'Bearer realm="plants", error="invalid_token", error_description="No such token"'
        raise HTTPException(401, {"problem": "a token is needed"}, headers={"WWW-Authenticate": said})
    return credentials.credentials


def writer(token: Annotated[str, Depends(reader)]):
    """Whoever has the token that may change things."""
    if token != WRITER:
        raise HTTPException(403, {"problem": "this token only reads"})


def known(number: int):
    if number not in plants:
        raise HTTPException(404, {"problem": f"no plant {number}"})
    return plants[number]


def described(number, plant):
    return {"id": number, **plant.model_dump()}


@app.get("/data/plants", dependencies=[Depends(reader)])
def list_plants(
    request: Request,
    response: Response,
    family: Annotated[list[str] | None, Query()] = None,
    q: str = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
    offset: Annotated[int, Query(ge=0)] = 0,
    accept: Annotated[str, Header()] = "*/*",
):
    """A page of the plants, with the URLs of its neighbours as the client sees them."""
    if not any(kind in accept for kind in ("*/*", "application/*", "application/json")):
        raise HTTPException(406, {"problem": "plants are told in JSON"})
    found = [
        described(number, plant)
        for number, plant in plants.items()
        if (not family or plant.family in family) and q in plant.name
    ]

    def page(start):
        return str(request.url.include_query_params(offset=start, limit=limit))

    after = page(offset + limit) if offset + limit < len(found) else None
    before = page(max(0, offset - limit)) if offset > 0 else None
    links = [f'<{url}>; rel="{rel}"' for rel, url in (("next", after), ("prev", before)) if url]
    if links:
        response.headers["Link"] = ", ".join(links)
    return {"count": len(found), "next": after, "previous": before, "plants": found[offset : offset + limit]}


@app.post("/data/plants", status_code=201, dependencies=[Depends(writer)])
def add_plant(plant: Plant, request: Request, response: Response):
    if any(other.name == plant.name for other in plants.values()):
        raise HTTPException(409, {"problem": f"there is a {plant.name}"})
    number = max(plants, default=0) + 1
    plants[number] = plant
    response.headers["Location"] = str(request.url_for("show_plant", number=number))
    return described(number, plant)


@app.get("/data/plants/{number}", dependencies=[Depends(reader)])
def show_plant(number: int, if_none_match: Annotated[str, Header()] = ""):
    """One plant with an entity tag of this API's own."""
    answer = JSONResponse(described(number, known(number)))
    answer.headers["ETag"] = f'W/"{hashlib.sha256(answer.body).hexdigest()[:16]}"'
    answer.headers["Cache-Control"] = "private, max-age=0"
    if if_none_match == answer.headers["ETag"]:
        return Response(status_code=304, headers={"ETag": answer.headers["ETag"]})
    return answer


@app.put("/data/plants/{number}", dependencies=[Depends(writer)])
def put_plant(number: int, plant: Plant):
    known(number)
    plants[number] = plant
    return described(number, plant)


@app.patch("/data/plants/{number}", dependencies=[Depends(writer)])
def change_plant(number: int, change: Change):
    plants[number] = known(number).model_copy(update=change.model_dump(exclude_unset=True))
    return described(number, plants[number])


@app.delete("/data/plants/{number}", status_code=204, dependencies=[Depends(writer)])
def delete_plant(number: int):
    known(number)
    del plants[number]


@app.get("/data/echo{rest:path}")
def echo(request: Request):
    """What has arrived: the bytes of the path and query, and how this framework reads them."""
    return {
        "path": request.scope["raw_path"].decode(),
        "query": request.scope["query_string"].decode(),
        "pairs": request.query_params.multi_items(),
        "url": str(request.url),
        "client": request.client.host,
    }


@app.put("/data/files/{name}", dependencies=[Depends(writer)])
async def put_file(name: str, request: Request):
    """Takes a body as it comes, with or without a length."""
    length = 0
    with (FILES / name).open("wb") as file:
        async for chunk in request.stream():
            length += len(chunk)
            file.write(chunk)
    return {"bytes": length, "declared": request.headers.get("content-length")}


@app.get("/data/files/{name}", dependencies=[Depends(reader)])
def get_file(name: str):
    """The file, with ranges."""
    if not (FILES / name).is_file():
        raise HTTPException(404, {"problem": f"no file {name}"})
    return FileResponse(FILES / name, media_type="application/octet-stream", filename=name)


@app.get("/data/visit")
def visit(response: Response):
    """Gives the visitor a cookie that scripts cannot see."""
    response.set_cookie("visit", "first one", httponly=True, secure=True, samesite="strict", path="/data")
    return {"welcome": True}


@app.post("/data/events/heard", status_code=204)
async def heard():
    """Lets the events go on."""
    go_on.set()


@app.get("/data/events")
async def events(request: Request, last_event_id: Annotated[str, Header()] = "0"):
    """Three events, and the end: a browser comes again and says which it had last."""
    start = int(last_event_id)

    async def stream():
        yield f"retry: 20\nevent: who\ndata: {request.cookies.get('visit', '')}\n\n"
        for number in range(start + 1, start + 4):
            if number == 2:
                # Nothing comes after the first one until somebody says that it has arrived.
                await go_on.wait()
            yield f"id: {number}\ndata: event {number}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@app.websocket("/data/socket")
async def socket(socket: WebSocket):
    """Says who came, then echoes; `bye` is answered with a close code of its own."""
    if "echo.v1" not in socket.scope["subprotocols"]:
        await socket.close(1008)
        return
    await socket.accept(subprotocol="echo.v1")
    who = {name: socket.headers.get(name) for name in ("host", "origin")}
    await socket.send_json({"visit": socket.cookies.get("visit"), "url": str(socket.url), **who})
    try:
        while True:
            message = await socket.receive()
            if message.get("text") == "bye":
                await socket.close(4001, "as you wish")
                return
            if message["type"] == "websocket.disconnect":
                return
            if message.get("bytes") is not None:
                await socket.send_bytes(message["bytes"])
            else:
                await socket.send_text(message["text"])
    except WebSocketDisconnect:
        return
