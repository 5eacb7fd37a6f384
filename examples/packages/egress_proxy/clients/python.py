"""One request with one client of Python, by the proxy of the environment."""

import asyncio
import importlib
import os
import ssl
import sys
import urllib.request

client, kind = sys.argv[1:]
url = {
    "plain": os.environ["PLAIN"] + "/hello",
    "secure": os.environ["SECURE"] + "/hello",
    "refused": "https://elsewhere.test/",
}.get(kind)


async def by_aiohttp():
    import aiohttp

    async with aiohttp.ClientSession(trust_env=True) as session:
        context = ssl.create_default_context(cafile=os.environ["CA"])
        async with session.get(url, ssl=context) as response:
            return await response.text()


try:
    if kind == "version":
        version = sys.version.split()[0] if client == "urllib" else importlib.import_module(client).__version__
        print(version)
    elif client == "urllib":
        context = ssl.create_default_context(cafile=os.environ["CA"])
        print(urllib.request.urlopen(url, context=context).read().decode())
    elif client == "aiohttp":
        print(asyncio.run(by_aiohttp()))
    else:
        module = importlib.import_module(client)
        options = {"verify": os.environ["CA"]} if client == "requests" else {}
        print(module.get(url, **options).text)
except Exception as error:  # What a program would see is what is shown.
    print(repr(error))
