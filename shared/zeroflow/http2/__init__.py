"""HTTP/2 without TLS (h2c with prior knowledge), either side of a connection. Knows neither Services nor pods."""
