"""The page: server-rendered HTML over the same services as the API, one file a place.

A page reads; whatever changes something goes through the API, from the browser as from anywhere else.
"""
