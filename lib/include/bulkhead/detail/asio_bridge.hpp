/// @file
/// Where the members that take a completion token or an executor find Asio: nowhere, unless bulkhead/asio.hpp is
/// included before they are called.
#pragma once

namespace bulkhead::detail {

/// Defined by bulkhead/asio.hpp.
template <class>
struct asio_bridge;

/// void, known only in the call: so asio_bridge is looked for there.
template <class...>
struct void_of {
    using type = void;
};

template <class... A>
struct with_asio {
    using bridge = asio_bridge<typename void_of<A...>::type>;
    static constexpr bool is_included = requires { sizeof(bridge); };
    static_assert(is_included,
                  "bulkhead: members that take a completion token (async_submit, async_join, "
                  "async_get, async_put) or an executor (on_done) need #include "
                  "<bulkhead/asio.hpp>");
};

}  // namespace bulkhead::detail
