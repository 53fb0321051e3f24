"""An MCP server (FastMCP) whose tool calls are decided by a decision point: `mcp.py URL TOKEN`. Calls its tools as
several people, and prints what came of it."""

import asyncio
import sys

# This file is called as a package that FastMCP needs: its own folder must not come first.
sys.path.pop(0)

from apparitor import ScannerConfig, Subject, subject_scope
from apparitor.fastmcp import FastMCPAuthorizationMiddleware
from fastmcp import Client, FastMCP
from fastmcp.exceptions import ToolError

url, token = sys.argv[1:]
config = ScannerConfig(
    pdp_url=url,
    allow_insecure_pdp=True,
    default_headers={"Authorization": f"Bearer {token}"},
    redact_arguments=False,
)
server = FastMCP("files")
server.add_middleware(
    FastMCPAuthorizationMiddleware(config=config, server_label="files", subject_type="identity")
)


@server.tool
def read_file(path: str, recursive: bool = False) -> str:
    return f"content of {path}"


@server.tool
def delete_file(path: str) -> str:
    return f"deleted {path}"


async def call(who, tool, **arguments):
    words = " ".join([who, tool, *(name for name in arguments if name != "path")])
    # As whom the server's own sign-in would name.
    with subject_scope(Subject(type="identity", id=f"id-{who}")):
        async with Client(server) as client:
            try:
                await client.call_tool(tool, {"path": "a.txt", **arguments})
                print(f"{words}: ran")
            except ToolError:
                print(f"{words}: refused")


async def main():
    await call("ann", "read_file")
    await call("ann", "delete_file")
    await call("ann", "read_file", recursive=True)
    await call("bob", "read_file")
    await call("nobody", "read_file")


asyncio.run(main())
