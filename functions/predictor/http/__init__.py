"""How requests come in and answers go out: one event loop that speaks HTTP/1.1 and HTTP/2, and its short ways."""
