%% Runs at each start. It removes all users that aren't in the definitions, once the broker runs. An import of definitions removes no
%% user, so a user of an earlier version, or one that was added by hand, would keep its access.
spawn(fun() ->
    ok = rabbit:await_startup(node(), false, 300000),
    {ok, Definitions} = file:read_file("/tmp/definitions.json"),
    Wanted = [maps:get(<<"name">>, User) || User <- maps:get(<<"users">>, rabbit_json:decode(Definitions))],
    Present = [proplists:get_value(user, User) || User <- rabbit_auth_backend_internal:list_users()],
    [rabbit_auth_backend_internal:delete_user(Name, <<"sluice">>) || Name <- Present -- Wanted]
end).
