%% Evaluated at each start. Importing definitions adds and changes, but never removes: a user that a former version had, or that
%% somebody made by hand, would keep its access for ever. So whoever isn't in the definitions is removed once the broker is up.
spawn(fun() ->
    ok = rabbit:await_startup(node(), false, 300000),
    {ok, Definitions} = file:read_file("/tmp/definitions.json"),
    Wanted = [maps:get(<<"name">>, User) || User <- maps:get(<<"users">>, rabbit_json:decode(Definitions))],
    Present = [proplists:get_value(user, User) || User <- rabbit_auth_backend_internal:list_users()],
    [rabbit_auth_backend_internal:delete_user(Name, <<"sluice">>) || Name <- Present -- Wanted]
end).
