"""A service that knows prices; the shop calls it."""

import os

from answers import Handler, serve

FORM = os.environ["FORM"]  # `old`: an amount in cents; `new`: an amount with a currency; or `both`


class Prices(Handler):
    def get(self):
        if self.path == "/health":
            return self.answer(200, {"healthy": True})
        found = {"article": self.path.rpartition("/")[2]}
        if FORM in ("old", "both"):
            found["amount"] = 1250
        if FORM in ("new", "both"):
            found["price"] = {"amount": "12.50", "currency": "EUR"}
        return self.answer(200, found)


serve(Prices)
