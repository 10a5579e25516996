"""The application that users see; it asks another service for each price."""

import http.client
import json
import os
import traceback

from answers import Handler, serve

HOST, PORT = os.environ["PRICES_HOST"], int(os.environ["PRICES_PORT"])
READS = os.environ["READS"]  # `old`: an amount in cents; `new`: an amount with a currency


class Shop(Handler):
    def get(self):
        if self.path == "/health":
            return self.answer(200, {"healthy": True})
        try:
            return self.answer(200, {"costs": self.price(self.path.rpartition("/")[2])})
        except (KeyError, OSError, ValueError):
            traceback.print_exc()
            return self.answer(500, {"detail": "no price"})

    def price(self, article):
        connection = http.client.HTTPConnection(HOST, PORT, timeout=5)
        try:
            # Whoever passes this header on can be followed from service to service.
            asked_by = {"X-Request-Id": self.headers.get("X-Request-Id", "")}
            connection.request("GET", f"/prices/{article}", headers=asked_by)
            found = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if READS == "old":
            return f"{found['amount'] / 100:.2f} EUR"
        return f"{found['price']['amount']} {found['price']['currency']}"


serve(Shop)
