from inference.huge_pages import with_huge_pages


def test_huge_pages_are_asked_for_beside_other_settings() -> None:
    assert with_huge_pages({"A": "1"}) == {
        "A": "1",
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1",
    }
    assert (
        with_huge_pages({"GLIBC_TUNABLES": "glibc.malloc.check=0"})["GLIBC_TUNABLES"]
        == "glibc.malloc.check=0:glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"
    )


def test_an_environment_that_decides_about_huge_pages_is_left_as_it_is() -> None:
    environ = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=8:glibc.malloc.hugetlb=0"}
    assert with_huge_pages(environ) == environ
    assert with_huge_pages(with_huge_pages({})) == with_huge_pages({})
