"""What users of the book shelf do."""


async def collect(user):
    """Add one to three books, then look at them in any order."""
    books = {}
    for number in range(user.random.randint(1, 3)):
        title = f"{user.unique} {number}"
        answer = await user.post("/books", json={"title": title}, expect=(201,), subject=title)
        books[answer.json()["id"]] = title
    for book in user.random.sample(sorted(books), len(books)):
        answer = await user.get(f"/books/{book}", name="/books/{id}")
        user.check(answer.json()["title"] == books[book], "another book's title")
