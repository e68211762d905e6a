"""Coming in and going out: password login, one-time links, logout."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from aoweb.dashboard.throttle import WINDOW, Door
from orchestrator.services import accounts

_BACKEND = "django.contrib.auth.backends.ModelBackend"
_MINUTES = int(WINDOW.total_seconds() // 60)
TOO_MANY = f"Too many failed logins. Wait {_MINUTES} minutes, or ask for a login link: `ao start` prints one."


def address_of(request: HttpRequest) -> str:
    """Where a request comes from."""
    return str(request.META.get("REMOTE_ADDR", ""))


@method_decorator(login_not_required, name="dispatch")
class PasswordLogin(LoginView):
    """Name and password; slow to guess, leads to pages of this site only."""

    template_name = "ao/login.html"
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        door = self._door()
        if door.closed:
            form = self.get_form_class()(request)
            context = self.get_context_data(form=form, problem=TOO_MANY)
            return self.render_to_response(context, status=429)
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        self._door().opened()
        return super().form_valid(form)

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        self._door().failed()
        return super().form_invalid(form)

    def _door(self) -> Door:
        return Door(name=self.request.POST.get("username", "")[:150], address=address_of(self.request))


@never_cache
@login_not_required
@require_http_methods(["GET", "HEAD", "POST"])
def one_time_login(request: HttpRequest, token: str) -> HttpResponse:
    """A link that logs one user in once. Opening it only shows a button, so that a link preview does not spend it."""
    if request.method != "POST":
        return render(request, "ao/login_link.html", {"token": token})
    door = Door(name="a login link", address=address_of(request))
    if door.closed:
        return render(request, "ao/login_link.html", {"problem": TOO_MANY}, status=429)
    try:
        user = accounts.redeem_login_link(token=token, now=timezone.now())
    except accounts.LinkSpent as refusal:
        door.failed()
        return render(request, "ao/login_link.html", {"problem": str(refusal)}, status=403)
    login(request, user, backend=_BACKEND)
    return HttpResponseRedirect(settings.LOGIN_REDIRECT_URL)


@require_GET
@login_not_required
def admin_login(request: HttpRequest) -> HttpResponse:
    """The admin has no login of its own: everyone comes in by the same door."""
    if isinstance(request.user, User) and not request.user.is_staff:
        raise PermissionDenied("Only staff may open the administration. Ask a superuser to make you staff.")
    target = request.GET.get("next", "/admin/")
    return HttpResponseRedirect(f"/accounts/login/?{urlencode({'next': target})}")
