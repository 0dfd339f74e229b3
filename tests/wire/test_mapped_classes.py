"""Classes of SQLAlchemy, created here as in a process that does not know them."""

import uuid

import pytest

sqlalchemy = pytest.importorskip("sqlalchemy")
orm = pytest.importorskip("sqlalchemy.orm")

from woolexec.wire.mapped_classes import make_base, make_mapped, reduce  # noqa: E402  # it needs none of them


@pytest.fixture(params=["class", "function"])
def base(request):
    return orm.declarative_base() if request.param == "function" else type("Base", (orm.DeclarativeBase,), {})


@pytest.fixture
def classes(base):
    """Authors with books: one column has another name than its attribute."""

    class Author(base):
        __tablename__ = "author"
        id = sqlalchemy.Column(sqlalchemy.Integer, primary_key=True)
        name = sqlalchemy.Column("full_name", sqlalchemy.String(30), nullable=False)
        books = orm.relationship("Book", back_populates="author", order_by="Book.title")

        @orm.validates("name")
        def check(self, _key, value):
            return value.strip()

        def shout(self):
            return self.name.upper()

    class Book(base):
        __tablename__ = "book"
        title = sqlalchemy.Column(sqlalchemy.String(30), primary_key=True)
        author_id = sqlalchemy.Column(sqlalchemy.ForeignKey("author.id"))
        author = orm.relationship("Author", back_populates="books")

    orm.configure_mappers()
    return Author, Book


def create(cls, base=None):
    make, (*args, _), state, *_, set_state = reduce(cls, orm)
    if base is not None:
        assert make is make_mapped
        args[2] = (base,)
    else:
        assert make is make_base
    return set_state(make(*args, uuid.uuid4().hex), state)


@pytest.fixture
def there(base, classes):
    new = create(base)
    assert new is not base
    return [create(cls, new) for cls in classes]


def test_columns_keep_their_names_and_properties(classes, there):
    for here, made in zip(classes, there, strict=True):
        assert made is not here
        assert made.metadata is not here.metadata
        assert [repr(column) for column in made.__table__.columns] == [repr(c) for c in here.__table__.columns]
        assert made.__mapper__.column_attrs.keys() == here.__mapper__.column_attrs.keys()
    assert there[0].name.property.columns[0].name == "full_name"


def test_mapped_classes_store_and_find_their_rows(there):
    author, book = there
    engine = sqlalchemy.create_engine("sqlite://")
    author.metadata.create_all(engine)
    with orm.Session(engine) as session:
        session.add(author(name=" Woolf ", books=[book(title="Orlando"), book(title="Flush")]))
        session.commit()
        found = session.scalars(sqlalchemy.select(author)).one()
        assert (found.name, found.shout()) == ("Woolf", "WOOLF")
        assert [each.title for each in found.books] == ["Flush", "Orlando"]
        assert found.books[0].author is found
    engine.dispose()


def test_class_that_is_known_is_created_once(base):
    make, args, *_ = reduce(base, orm)

    assert make(*args) is base


def test_other_classes_are_not_reduced(base):
    assert reduce(type("Mixin", (), {}), orm) is None
    assert reduce(type("Abstract", (base,), {"__abstract__": True}), orm) is None
