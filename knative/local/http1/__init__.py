"""HTTP/1.1 as clients of the host speak it: small requests to Services. Anything else is left to aiohttp."""
